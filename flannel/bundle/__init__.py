"""What a fold has trained in one folder, to hand on; and reading one that nobody vouches for."""
