"""Programs of other libraries: pins (NAME.txt) of their environments, and what runs in them."""
