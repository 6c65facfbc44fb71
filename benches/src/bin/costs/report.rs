//! The figures, for programs (JSON) and for people (Markdown), with the goals beside them.

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use shimq_benches::machine::Machine;

use crate::{hashing, memory, negotiation, responding};

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) memory: [memory::Row; 2],
    pub(crate) responding: Vec<responding::Row>,
    pub(crate) negotiation: Vec<negotiation::Row>,
    pub(crate) hashing: Vec<hashing::Row>,
}

impl Results {
    /// Writes `costs.json` and `costs.md` into `folder`; returns the latter.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or written.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<String> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("costs.json"), serde_json::to_vec_pretty(self)?)?;
        let table = self.to_string();
        fs::write(folder.join("costs.md"), &table)?;
        Ok(table)
    }

    fn write_responding(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n## An I2 at the responder\n")?;
        writeln!(
            f,
            "CGA of 1024 bits, two locators; from its arrival to the R2.\n"
        )?;
        writeln!(
            f,
            "| contexts | I2, us | RSA verification by ring, us | beside it, us (goal: < 15) |"
        )?;
        writeln!(f, "| ---: | ---: | ---: | ---: |")?;
        for row in &self.responding {
            let responding::Row {
                contexts,
                i2_us,
                ring_us,
            } = row;
            let beside = row.beside_us();
            writeln!(
                f,
                "| {contexts} | {i2_us:.1} | {ring_us:.1} | {beside:.1} |"
            )?;
        }
        Ok(())
    }

    fn write_negotiation(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n## A negotiation, I1 to R2, both hosts together, us\n")?;
        writeln!(
            f,
            "| proof | locators | both sign | responder's signature cached | both cached, as in the daemon |"
        )?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: |")?;
        for row in &self.negotiation {
            writeln!(
                f,
                "| {} | {} | {:.0} | {:.0} | {:.0} |",
                row.security, row.locators, row.signing_us, row.responder_cached_us, row.cached_us
            )?;
        }
        Ok(())
    }

    fn write_hashing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n## The modifier search\n")?;
        writeln!(
            f,
            "Goals: 5 times the crate sha1 with AVX-512, 3 times with AVX2.\n"
        )?;
        writeln!(
            f,
            "| contender | threads | million hashes a second | beside sha1 |"
        )?;
        writeln!(f, "| --- | ---: | ---: | ---: |")?;
        for row in &self.hashing {
            writeln!(
                f,
                "| {} | {} | {:.2} | {:.2} |",
                row.contender, row.threads, row.rate, row.times_sha1
            )?;
        }
        Ok(())
    }

    fn write_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n## Memory of an idle context\n")?;
        writeln!(f, "CGA of 1024 bits, two locators at each end.\n")?;
        writeln!(f, "| role | contexts | octets each (goal: at most 1536) |")?;
        writeln!(f, "| --- | ---: | ---: |")?;
        for row in &self.memory {
            writeln!(f, "| {} | {} | {:.0} |", row.role, row.contexts, row.octets)?;
        }
        Ok(())
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# What the protocol costs\n")?;
        writeln!(f, "{}", self.machine.describe())?;
        self.write_responding(f)?;
        self.write_negotiation(f)?;
        self.write_hashing(f)?;
        self.write_memory(f)?;
        f.write_char('\n')
    }
}
