// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Hostile
/// @notice A domain and its registries in one, whose `suspend` calls back whoever calls it.
contract Hostile {
    bytes internal _callback;

    function prepare(bytes calldata callback) external {
        _callback = callback;
    }

    function suspend(bytes32) external {
        (bool done, bytes memory answer) = msg.sender.call(_callback);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    function authorities() external view returns (address) {
        return address(this);
    }

    function certificates() external view returns (address) {
        return address(this);
    }

    function devices() external view returns (address) {
        return address(this);
    }

    function watchdogs() external view returns (address) {
        return address(this);
    }
}
