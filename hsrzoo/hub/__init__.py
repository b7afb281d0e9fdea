"""Models, codebooks and rows on the Hugging Face Hub; the only package that imports huggingface_hub."""
