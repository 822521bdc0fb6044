"""Makes the packages that put Tillbridge on a machine; what lands where stands in README.md."""
