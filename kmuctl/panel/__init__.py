"""What runs in the panel's image: the admin panel and the sync worker. Imports nothing of the rest of kmuctl."""
