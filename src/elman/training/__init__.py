"""The training loop and what it needs: choice of sizes, optimisers, schedules, checkpoints, reports."""
