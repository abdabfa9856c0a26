"""avprep preview: content (which clips, their pictures and sound) to page (markup); summary, axes, assets serve it."""
