"""From stored predictions to the metrics of one run. numpy, never torch."""
