"""What Prometheus and the kubelet are told: counters, gauges, health."""
