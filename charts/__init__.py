"""What a mesh is run and watched with: dashboards, alerts, and the Helm chart."""
