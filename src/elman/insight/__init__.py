"""Looking inside a trained model: what surprises it."""
