"""Tables in and out of files and databases; every write is atomic."""
