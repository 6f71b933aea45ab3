"""Pages to be read in a browser: one design, figures as SVG, files that need no network."""
