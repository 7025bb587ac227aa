"""The reference: what a network policy means, once more, slowly and plainly, as the engine's oracle."""
