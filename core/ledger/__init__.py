"""The ledger: tables, and every SQL statement of the kernel, one file per noun."""
