"""One self-contained HTML file about a resource: charts as inline SVG, nothing fetched when it is opened."""
