"""Monitoring by Prometheus and the kubelet: counters, gauges, health."""
