"""RGB files to cube files: one image, many images, caveats, quick looks."""
