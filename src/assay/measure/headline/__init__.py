"""What is run for a claim, and the table of every floor and ablation."""
