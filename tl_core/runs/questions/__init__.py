"""Small jobs that answer one question about a data set, a backbone or this machine."""
