//! Faults of local server processes.

use super::super::cluster::LocalCluster;
use super::super::error::ClusterError;
use super::super::resp::Reply;
use super::{Nemesis, NemesisError, Nodes, Refusal};

impl Nodes for LocalCluster {
    fn count(&self) -> usize {
        self.len()
    }

    fn node_url(&self, node: usize) -> String {
        self.url(node)
    }

    fn check(&self, nemesis: &Nemesis) -> Result<(), Refusal> {
        match nemesis {
            Nemesis::Cut | Nemesis::Link { .. } => Err(Refusal::NoProxy),
            Nemesis::ClockStep { .. } | Nemesis::ClockRate { .. } => {
                if self.has_adjustable_clocks() {
                    Ok(())
                } else {
                    Err(Refusal::MachineClock)
                }
            }
            Nemesis::Kill { .. }
            | Nemesis::Restart { .. }
            | Nemesis::Pause
            | Nemesis::MemoryFull
            | Nemesis::FlushAll
            | Nemesis::ScriptFlush => Ok(()),
        }
    }

    fn apply(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError> {
        self.check(nemesis).map_err(|reason| nemesis.refused(node, reason))?;
        match nemesis {
            Nemesis::Kill { data: _ } => self.kill(node)?,
            Nemesis::Restart { data } => self.restart(node, *data)?,
            Nemesis::Pause => self.pause(node)?,
            Nemesis::ClockStep { step } => self.step_clock(node, *step)?,
            Nemesis::ClockRate { ppm } => self.set_clock_rate(node, *ppm)?,
            Nemesis::MemoryFull => self.memory().fill(self, node)?,
            Nemesis::FlushAll => self.tell(node, &["FLUSHALL"])?,
            Nemesis::ScriptFlush => self.tell(node, &["SCRIPT", "FLUSH"])?,
            Nemesis::Cut | Nemesis::Link { .. } => {}
        }
        Ok(())
    }

    fn heal(&self, node: usize, nemesis: &Nemesis) -> Result<(), NemesisError> {
        self.check(nemesis).map_err(|reason| nemesis.refused(node, reason))?;
        match nemesis {
            Nemesis::Kill { data } => self.restart(node, *data)?,
            Nemesis::Pause => self.resume(node)?,
            Nemesis::ClockRate { ppm: _ } => self.set_clock_rate(node, 0)?,
            Nemesis::MemoryFull => self.memory().free(self, node)?,
            Nemesis::Restart { .. }
            | Nemesis::ClockStep { .. }
            | Nemesis::FlushAll
            | Nemesis::ScriptFlush
            | Nemesis::Cut
            | Nemesis::Link { .. } => {}
        }
        Ok(())
    }

    fn ask(&self, node: usize, arguments: &[&str]) -> Result<Reply, ClusterError> {
        self.command(node, arguments)
    }
}

/// Commands to nodes of any kind.
pub(super) trait Told: Nodes {
    /// Sends a command that must not be refused.
    fn tell(&self, node: usize, arguments: &[&str]) -> Result<(), ClusterError> {
        match self.ask(node, arguments)? {
            Reply::Error(text) => Err(ClusterError::Refused { node, command: arguments.join(" "), text }),
            Reply::Nil | Reply::Int(_) | Reply::Simple(_) | Reply::Bulk(_) | Reply::Array(_) => Ok(()),
        }
    }
}

impl<N: Nodes + ?Sized> Told for N {}

impl Nemesis {
    pub(in super::super) fn refused(&self, node: usize, reason: Refusal) -> NemesisError {
        NemesisError::Refused { node, nemesis: self.to_string(), reason }
    }
}
