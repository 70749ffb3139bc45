"""What the pages draw with: a room for what each page is made of, and modules that all pages share. Work is asked of tl_core."""
