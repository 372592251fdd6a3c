// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AuthorityRegistry} from "./AuthorityRegistry.sol";
import {CertificateRegistry} from "./CertificateRegistry.sol";
import {DeviceRegistry} from "./DeviceRegistry.sol";
import {WatchdogRegistry} from "./WatchdogRegistry.sol";
import {IAuthorityRegistry} from "./interfaces/IAuthorityRegistry.sol";
import {ICertificateRegistry} from "./interfaces/ICertificateRegistry.sol";
import {IDeviceRegistry} from "./interfaces/IDeviceRegistry.sol";
import {ITrustDomain} from "./interfaces/ITrustDomain.sol";
import {IWatchdogRegistry} from "./interfaces/IWatchdogRegistry.sol";

/// @title TrustDomain
/// @notice One organisation's trust domain. Deploying it deploys and wires everything: a domain is one transaction.
/// @dev Invariants:
/// I1. The four registries never change, and each knows this contract as its domain.
/// I2. There is always a governor.
/// I3. Only the governor offers its role and names the guardian.
/// I4. The governor changes only when the one whom the role was offered to accepts; the offer is then used up.
contract TrustDomain is ITrustDomain {
    /// @inheritdoc ITrustDomain
    IAuthorityRegistry public immutable authorities;
    /// @inheritdoc ITrustDomain
    ICertificateRegistry public immutable certificates;
    /// @inheritdoc ITrustDomain
    IDeviceRegistry public immutable devices;
    /// @inheritdoc ITrustDomain
    IWatchdogRegistry public immutable watchdogs;

    /// @inheritdoc ITrustDomain
    address public governor;
    /// @inheritdoc ITrustDomain
    address public offeredGovernor;
    /// @inheritdoc ITrustDomain
    address public guardian;

    /// @param governor_ The first governor, not zero.
    /// @param guardian_ The first guardian, or zero for none.
    /// @param registrars The first registrars of devices.
    constructor(address governor_, address guardian_, address[] memory registrars) {
        require(governor_ != address(0), TrustDomainZeroGovernor());
        governor = governor_;
        guardian = guardian_;
        authorities = new AuthorityRegistry(this);
        certificates = new CertificateRegistry(this);
        devices = new DeviceRegistry(this, registrars);
        watchdogs = new WatchdogRegistry(this);
        emit DomainCreated(
            governor_, address(authorities), address(certificates), address(devices), address(watchdogs)
        );
        emit GuardianChanged(address(0), guardian_);
    }

    /// @inheritdoc ITrustDomain
    function offerGovernor(address offered) external {
        require(msg.sender == governor, TrustDomainUnauthorized(msg.sender));
        offeredGovernor = offered;
        emit GovernorOffered(msg.sender, offered);
    }

    /// @inheritdoc ITrustDomain
    function setGuardian(address guardian_) external {
        require(msg.sender == governor, TrustDomainUnauthorized(msg.sender));
        address previous = guardian;
        guardian = guardian_;
        emit GuardianChanged(previous, guardian_);
    }

    /// @inheritdoc ITrustDomain
    function acceptGovernor() external {
        require(msg.sender == offeredGovernor, TrustDomainUnauthorized(msg.sender));
        address previous = governor;
        governor = msg.sender;
        offeredGovernor = address(0);
        emit GovernorChanged(previous, msg.sender);
    }
}
