"""`corten network graph`: what the API says of networks and containers, made a graph and drawn. Pure, in the client."""
