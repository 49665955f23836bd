//! What is looked up when somebody asks for the metrics.

use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, GaugeVec, Opts, Registry};

use super::metrics::{FIXED, counters, registered};
use super::process;

/// What is looked up when somebody asks, and not counted.
#[derive(Debug, Default)]
pub struct Scrape {
    registry: Registry,
}

impl Scrape {
    /// Adds a gauge.
    pub fn gauge(&self, name: &str, help: &str, value: f64) {
        registered(&self.registry, Gauge::new(name, help).expect(FIXED)).set(value);
    }

    /// Adds a gauge that has a value for each of some labels, which must be bounded.
    pub fn gauges(&self, name: &str, help: &str, label: &str, values: &[(&str, f64)]) {
        let gauges = registered(&self.registry, GaugeVec::new(Opts::new(name, help), &[label]).expect(FIXED));
        for (of, value) in values {
            gauges.with_label_values(&[of]).set(*value);
        }
    }

    /// Adds a counter that has a value for each of some labels, which must be bounded.
    pub fn counters(&self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        let counters = counters(&self.registry, name, help, &[label]);
        for (of, value) in values {
            counters.with_label_values(&[of]).inc_by(*value);
        }
    }

    /// Adds a counter.
    pub fn counter(&self, name: &str, help: &str, value: f64) {
        let counter = Counter::new(name, help).expect(FIXED);
        registered(&self.registry, counter).inc_by(value);
    }

    /// Adds what this program is.
    pub fn build_info(&self, version: &str) {
        let help = "What runs here; the value is always 1.";
        self.gauges("posthaste_build_info", help, "version", &[(version, 1.0)]);
    }

    /// Adds what the operating system tells of this process, where it does (Linux).
    pub fn process(&self) {
        let Some(facts) = process::facts() else { return };
        self.counter(
            "process_cpu_seconds_total",
            "Processor time that this process used, in user and system mode.",
            facts.cpu_seconds,
        );
        let gauges = [
            ("process_resident_memory_bytes", "Memory of this process that is in RAM.", facts.resident_bytes),
            ("process_virtual_memory_bytes", "Address space of this process.", facts.virtual_bytes),
            ("process_open_fds", "Open files and connections of this process.", facts.open_fds),
            ("process_max_fds", "How many this process may have open.", facts.max_fds),
            ("process_threads", "Threads of this process.", facts.threads),
            (
                "process_start_time_seconds",
                "When this process was started, Unix time.",
                facts.started_seconds,
            ),
        ];
        for (name, help, value) in gauges {
            self.gauge(name, help, value);
        }
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}
