"""What should not score well, and who competes for the credit."""
