"""What the tokens say: slices, worst examples, what each part closes, the residual."""
