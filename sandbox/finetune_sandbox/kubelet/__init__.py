"""The kubelet: runs the pods of its nodes as isolated processes of this machine."""
