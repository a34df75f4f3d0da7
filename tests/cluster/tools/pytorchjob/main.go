// The controller of PyTorchJobs, as training-operator sets it up but without its webhooks, whose
// certificates it would make itself, and without the controllers of its other kinds.
package main

import (
	"log"

	"github.com/kubeflow/training-operator/pkg/apis/kubeflow.org/v1"
	"github.com/kubeflow/training-operator/pkg/config"
	"github.com/kubeflow/training-operator/pkg/controller.v1/common"
	"github.com/kubeflow/training-operator/pkg/controller.v1/pytorch"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func main() {
	controllerruntime.SetLogger(zap.New())
	config.Config.PyTorchInitContainerImage = config.PyTorchInitContainerImageDefault
	config.Config.PyTorchInitContainerTemplateFile = config.PyTorchInitContainerTemplateFileDefault
	config.Config.PyTorchInitContainerMaxTries = config.PyTorchInitContainerMaxTriesDefault

	kinds := runtime.NewScheme()
	check(scheme.AddToScheme(kinds))
	check(v1.AddToScheme(kinds))
	manager, err := controllerruntime.NewManager(
		controllerruntime.GetConfigOrDie(),
		controllerruntime.Options{Scheme: kinds, Metrics: server.Options{BindAddress: "0"}},
	)
	check(err)
	jobs := pytorch.NewReconciler(manager, common.GenNonGangSchedulerSetupFunc())
	check(jobs.SetupWithManager(manager, 1))
	check(manager.Start(controllerruntime.SetupSignalHandler()))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
