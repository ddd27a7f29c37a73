"""The suite, as a package so that files of one name may live in several folders."""
