//! The ground of a cluster and what runs on it: the control plane.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::apiserver::{Audit, Site};
use crate::command::command;
use crate::controllers::{Controller, Pace};
use crate::node::Surroundings;
use crate::{control_plane, network, process};

use super::{Cluster, Error, alone};

/// The API server's program, and the name of its process.
pub(super) const API_SERVER: &str = "kube-apiserver";

impl Cluster {
    /// Where the API server is.
    pub(super) fn site(&self) -> Site {
        let network = self.network();
        Site {
            folder: self.folder.clone(),
            address: IpAddr::V4(network.control_plane()),
            port: 6443,
            etcd_port: 2379,
            etcd_peer_port: 2380,
            services: network.services(),
            service: IpAddr::V4(network.api_service()),
            audit: Audit::Everybody,
        }
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings {
            folder: self.folder.clone(),
            network: self.network(),
            ground: self.ground(),
            site: self.site(),
            programs: self.state.programs.clone(),
        }
    }

    /// A process in the ground's network namespace; it does nothing else.
    pub(super) fn ground(&self) -> i32 {
        self.state.process("ground").map_or(0, |record| record.pid)
    }

    /// Starts the ground's network.
    pub(super) fn start_ground(&mut self) -> Result<(), Error> {
        let log = self.log("ground");
        let mut unshare = command("unshare", ["--net", "sleep", "infinity"]);
        let ground = process::detach("ground", &mut unshare, &self.folder, &log)?;
        let own = std::fs::read_link("/proc/self/ns/net").ok();
        process::eventually(
            "the ground's network",
            Duration::from_secs(10),
            Some(&log),
            || {
                let theirs = std::fs::read_link(network::namespace(ground.pid)).ok();
                theirs.is_some() && theirs != own
            },
        )?;
        self.state.processes = vec![ground.clone()];
        self.save()?;
        Ok(network::lay_ground(self.network(), ground.pid)?)
    }

    /// Starts a program on the ground.
    pub(super) fn launch(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[String],
    ) -> Result<(), Error> {
        let namespace = network::namespace(self.ground());
        // Only the network is entered, so nsenter becomes the program.
        let mut nsenter = command("nsenter", [format!("--net={}", namespace.display())]);
        nsenter.arg("--").arg(program).args(arguments);
        let record = process::detach(name, &mut nsenter, &self.folder, &self.log(name))?;
        self.state.processes.push(record);
        Ok(())
    }

    pub(super) fn launch_kubernetes(
        &mut self,
        name: &str,
        arguments: &[String],
    ) -> Result<(), Error> {
        let program = self.state.programs.join(name);
        self.launch(name, &program, arguments)
    }

    /// Starts controller manager and scheduler.
    pub(super) fn start_controllers(&mut self) -> Result<(), Error> {
        let site = self.site();
        for controller in Controller::ALL {
            let arguments = controller.arguments(&site, Pace::default())?;
            self.launch_kubernetes(controller.name(), &arguments)?;
        }
        self.save()
    }

    /// Ends the API server like a power cut. Everything else of the cluster runs on without it.
    pub fn halt_api_server(&mut self) -> Result<(), Error> {
        let _alone = alone(&self.name)?;
        let Some(record) = self.state.process(API_SERVER) else {
            return Ok(());
        };
        process::signal(record, Signal::SIGKILL);
        let limit = Duration::from_secs(20);
        process::eventually("the API server's end", limit, None, || !record.is_running())?;
        self.progress.say("the API server is stopped");
        Ok(())
    }

    /// Starts the API server again and waits until it is ready.
    pub async fn start_api_server(&mut self) -> Result<(), Error> {
        let _alone = alone(&self.name)?;
        let site = self.site();
        self.state
            .processes
            .retain(|record| record.name != API_SERVER);
        self.launch_kubernetes(API_SERVER, &site.arguments())?;
        self.save()?;
        control_plane::ready(&site).await?;
        self.progress.say("the API server is ready");
        Ok(())
    }

    /// Writes the routes for the nodes that run now.
    pub(super) fn route(&self) -> Result<(), Error> {
        Ok(network::route(
            self.network(),
            self.ground(),
            &self.state.running(),
        )?)
    }
}
