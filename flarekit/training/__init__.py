"""Training of the reference pair and of the propagation network, on one shared loop."""
