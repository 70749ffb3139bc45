"""What the Predict page is made of: pictures, and the answers to them."""
