"""The public Python API: `import probpose` offers it by name, and commands and notebooks use nothing behind it."""
