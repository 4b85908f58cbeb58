"""The engine of sweeps: every part patched alone, at every position."""
