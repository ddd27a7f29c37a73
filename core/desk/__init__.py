"""What people and systems ask of the kernel beyond moving parcels: one file a desk."""
