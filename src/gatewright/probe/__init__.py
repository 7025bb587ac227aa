"""Real connections between endpoints, measured and compared with what the engine predicts."""
