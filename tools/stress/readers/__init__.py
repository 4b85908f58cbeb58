"""What is read, a file each: its seeds, how they are mutated, and the calls into assay."""
