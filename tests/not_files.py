"""Entries of a folder that have the name of a file and are none; each function makes one at a
path."""

import os
import socket


def a_pipe(path):
    os.mkfifo(path)


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # its address must be short


def a_device(path):
    path.symlink_to("/dev/zero")


def a_folder(path):
    path.mkdir()


MAKERS = (a_pipe, a_socket, a_device, a_folder)
