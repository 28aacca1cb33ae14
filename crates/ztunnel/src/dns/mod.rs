//! Names of the mesh, answered in the pod.
