"""Where rows come from: addresses, files, formats."""
