"""What each subcommand means."""
