from charts.dashboards import FILES, text

for file, dashboard in FILES.items():
    file.write_text(text(dashboard))
