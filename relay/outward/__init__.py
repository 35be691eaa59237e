"""What the relay posts to others."""
