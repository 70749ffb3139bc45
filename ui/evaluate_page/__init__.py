"""What the Evaluate page is made of: a report as a matrix, pictures and tables, and how far the network moved."""
