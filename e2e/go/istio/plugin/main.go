// Command istio-cni is the plugin that install-cni copies to nodes.
//
// It is not linked with istiod or the agent: both declare some environment variables in two ways,
// which Istio says in a log line when the program starts, and the container runtime takes
// everything on a plugin's standard output for its result.
package main

import (
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	cniversion "github.com/containernetworking/cni/pkg/version"

	"istio.io/istio/cni/pkg/plugin"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/version"
)

func main() {
	if err := answer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// answer serves the container runtime; the plugin's own errors go to standard output as JSON.
func answer() error {
	if err := log.Configure(plugin.GetLoggingOptions(nil)); err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	functions := skel.CNIFuncs{Add: plugin.CmdAdd, Del: plugin.CmdDelete, Check: plugin.CmdCheck}
	failure := skel.PluginMainFuncsWithError(functions, cniversion.All, "CNI plugin istio-cni "+version.Info.Version)
	if failure == nil {
		return nil
	}
	if err := failure.Print(); err != nil {
		return err
	}
	return failure
}
