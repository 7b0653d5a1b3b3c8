"""What a subcommand shows and asks; what it does is in operations."""
