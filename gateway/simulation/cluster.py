"""A real Apache Kafka of several nodes on this machine: what one broker keeps, another has too.

    node 1 ◄──► node 2       each is broker and controller, in a process of its own;
       ▲           ▲         each partition stands on three of them, and a write with acks=all
       └─► node 3 ◄┘         is acknowledged when at least two have it

Guarantees: of three nodes any one may die, by SIGKILL too: nothing that was acknowledged is lost,
and writing and groups go on when the others have noticed (about 2 s). While two are away nothing
is acknowledged. When `start` or `restart` returns, every replica on the nodes that run is in sync.
What KafkaBroker says of its process holds for each of them.

    data/1/ data/2/ data/3/    as KafkaBroker has it
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.simulation import broker_client, broker_jars
from gateway.simulation.broker import (
    HOST,
    START_TIMEOUT_SECONDS,
    BrokerUnavailable,
    Door,
    KafkaBroker,
    Topic,
    create_topics,
    fetched_jars,
    new_cluster_id,
)
from gateway.simulation.ports import HeldPorts

_MOST_REPLICAS = 3
_LOOK_SECONDS = 0.1


class KafkaCluster:
    """Nodes of Apache Kafka that replicate to each other; they are numbered from 1.

        async with KafkaCluster(Path("data")) as cluster:
            await cluster.create_topics(*gateway_topics())
            await cluster.kill(2)
            ... cluster.bootstrap_servers ...
            await cluster.restart(2)

    Ports are free ones, known after `start` and kept. `properties`, `java` and `progress` as
    KafkaBroker has them. `doors`: of each node, in their order.
    """

    def __init__(
        self,
        data: Path,
        nodes: int = 3,
        *,
        properties: Mapping[str, str] | None = None,
        java: str | None = None,
        progress: broker_jars.Progress | None = None,
        doors: Sequence[Sequence[Door]] = (),
    ) -> None:
        self.nodes = range(1, nodes + 1)
        own_ports = [door.port for of_node in doors for door in of_node]
        self._quorum = _Quorum(data.absolute(), self.nodes, own_ports)
        self._brokers = {
            number: _Node(
                self._quorum, number, properties, java, doors[number - 1] if doors else ()
            )
            for number in self.nodes
        }
        self._progress = progress

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.bootstrap_servers for broker in self._brokers.values())

    @property
    def log_paths(self) -> list[Path]:
        return [broker.log_path for broker in self._brokers.values()]

    def pid(self, node: int) -> int | None:
        """The process of this node that runs now; None: none does."""
        return self._brokers[node].pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """All nodes are ready when it returns, and a group coordinator is; no process is left if
        it raises (BrokerUnavailable)."""
        if any(broker.pid for broker in self._brokers.values()):
            return
        try:
            await fetched_jars(self._progress)  # once, and not by every node at the same time
            await asyncio.to_thread(self._quorum.name)
            self._quorum.take_ports()
            await self.restart(*self.nodes)
            await _bounded(self._is_coordinated, "has no group coordinator")
            await self.wait_in_sync()
        except BaseException:
            await self._end(KafkaBroker.kill)
            raise

    async def stop(self) -> None:
        """Asks all nodes to end, and kills those that have not within 15 s."""
        await self._end(KafkaBroker.stop)

    async def kill(self, node: int) -> None:
        """Ends this node as a crash would. The others notice when its session ends, after 2 s."""
        await self._brokers[node].kill()

    async def restart(self, *nodes: int) -> None:
        """They run, and every replica on a running node is in sync, when it returns. There must be
        a majority with them. Raises BrokerUnavailable."""
        await _together(self._brokers[node].start() for node in nodes)
        await self.wait_in_sync()

    def suspend(self, node: int) -> None:
        """Frozen when it returns (SIGSTOP): connections stay open, nothing is answered."""
        self._brokers[node].suspend()

    def resume(self, node: int) -> None:
        self._brokers[node].resume()

    async def create_topics(self, *topics: Topic) -> None:
        """All of them exist, and can be written to, when it returns. Those that exist already
        stay as they are. Raises BrokerUnavailable."""
        await create_topics(self.bootstrap_servers, topics, self._quorum.replicas)

    async def wait_in_sync(self) -> None:
        """Until every running node says that the running ones are there and that each replica on
        them is in sync. Raises BrokerUnavailable."""
        await _bounded(self._is_in_sync, "is not in sync")

    async def _is_in_sync(self) -> bool:
        running = {number for number, broker in self._brokers.items() if broker.pid}
        for number in running:
            cluster = await self._brokers[number].described()
            if cluster is None or not broker_client.in_sync(cluster, running):
                return False
        return True

    async def _is_coordinated(self) -> bool:
        try:
            await broker_client.coordinate(self.bootstrap_servers)
        except broker_client.TROUBLE:
            return False
        return True

    async def _end(self, how: Callable[[KafkaBroker], Awaitable[None]]) -> None:
        await asyncio.gather(*(how(broker) for broker in self._brokers.values()))
        self._quorum.release_ports()


class _Quorum:
    """What all nodes agree on: the cluster's name, and where each of them listens.

    Ports are held for as long as the cluster runs, also while their node is down.
    """

    def __init__(self, data: Path, nodes: Sequence[int], doors: Sequence[int]) -> None:
        self.data = data
        self.replicas = min(len(nodes), _MOST_REPLICAS)
        self.cluster_id = ""
        self.ports: dict[int, tuple[int, int]] = dict.fromkeys(nodes, (0, 0))
        """Of each node: for clients, and for the other controllers."""
        self._doors = doors
        self._held = HeldPorts()

    def name(self) -> None:
        """The same for as long as the data is kept."""
        self.data.mkdir(parents=True, exist_ok=True)
        file = self.data / "cluster-id"
        if not file.exists():
            file.write_text(new_cluster_id())
        self.cluster_id = file.read_text()

    def take_ports(self) -> None:
        """The same ones every time."""
        for node, (for_clients, for_controllers) in self.ports.items():
            self.ports[node] = (self._taken(for_clients), self._taken(for_controllers))
        for port in self._doors:
            self._taken(port)

    def release_ports(self) -> None:
        self._held.release()

    def _taken(self, port: int) -> int:
        try:
            return self._held.take(port)
        except OSError as error:
            raise BrokerUnavailable(f"Kafka cannot listen on port {port}: it is in use.") from error


class _Node(KafkaBroker):
    """One of several: where it listens and whom it votes with is the quorum's to say."""

    _heap_megabytes = 256

    def __init__(
        self,
        quorum: _Quorum,
        number: int,
        properties: Mapping[str, str] | None,
        java: str | None,
        doors: Sequence[Door],
    ) -> None:
        super().__init__(quorum.data / str(number), properties=properties, java=java, doors=doors)
        self.number = number
        self._quorum = quorum
        self._port_is_ours_to_choose = False

    def _choose_ports(self) -> None:
        self.port, self._controller_port = self._quorum.ports[self.number]

    def _format_options(self) -> tuple[str, ...]:
        return ("-t", self._quorum.cluster_id)

    async def _is_ready(self) -> bool:
        """The coordinator may be another node, and that one down."""
        return await self.described() is not None

    def _company(self) -> dict[str, str]:
        ports = self._quorum.ports.items()
        replicas, in_sync = str(self._quorum.replicas), str(max(1, self._quorum.replicas - 1))
        return {
            "controller.quorum.voters": ",".join(f"{n}@{HOST}:{port}" for n, (_, port) in ports),
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),  # half of the heap by default
        }


async def _together(starting: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Ends the others when one fails, and raises that failure."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in starting:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures


async def _bounded(is_so: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    try:
        async with asyncio.timeout(START_TIMEOUT_SECONDS):
            while not await is_so():  # noqa: ASYNC110 (there is no event to await)
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise BrokerUnavailable(f"Kafka {otherwise} after {START_TIMEOUT_SECONDS:.0f} s.") from None
