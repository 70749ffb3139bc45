"""What the Data page is made of: bringing pictures, and what a data set holds."""
