"""The site of the documentation: what MkDocs does not do by itself (mkdocs.yml, `make docs`)."""
