"""Statistics and contexts: what the policy and the rollouts start from."""
