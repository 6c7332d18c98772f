"""The core's objects together, against reference models made of sets and lists."""
