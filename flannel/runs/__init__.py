"""How a run is started, fingerprinted, locked, queued, resumed and logged."""
